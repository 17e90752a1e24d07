-- The platform's tables, for a new installation. Existing ones are never altered.

CREATE TABLE IF NOT EXISTS cloud_providers (
    id            SERIAL PRIMARY KEY,
    nombre        VARCHAR(255) NOT NULL,
    tipo          VARCHAR(50)  NOT NULL,
    credenciales  JSONB,
    configuracion JSONB,
    activo        BOOLEAN DEFAULT true
);

CREATE TABLE IF NOT EXISTS ejecuciones_config (
    id                         SERIAL PRIMARY KEY,
    nube_primaria_id           INTEGER,
    nubes_alternativas         INTEGER[],
    tiempo_retencion_local     INTEGER DEFAULT 0,
    prefijo_ruta_nube          VARCHAR(255) DEFAULT '',
    migrar_automaticamente     BOOLEAN DEFAULT true,
    eliminar_despues_de_migrar BOOLEAN DEFAULT false
);

CREATE TABLE IF NOT EXISTS ejecuciones_yaml (
    id               SERIAL PRIMARY KEY,
    uuid             VARCHAR(64) NOT NULL,
    ruta_directorio  TEXT,
    fecha_ejecucion  TIMESTAMP,
    migrado_a_nube   BOOLEAN DEFAULT false,
    ruta_nube        TEXT,
    nube_provider_id INTEGER
);

CREATE TABLE IF NOT EXISTS secretos_nube (
    nombre        TEXT PRIMARY KEY,
    valor_cifrado TEXT NOT NULL
);
