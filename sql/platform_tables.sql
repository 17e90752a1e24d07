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

CREATE TABLE IF NOT EXISTS historial_backup (
    id_backup           BIGSERIAL PRIMARY KEY,
    tipo                VARCHAR(20) NOT NULL,
    nombre_archivo      VARCHAR(255) NOT NULL,
    ruta_archivo        TEXT NOT NULL,
    tamanio_bytes       BIGINT,
    tamanio_legible     VARCHAR(50),
    estado              VARCHAR(20) DEFAULT 'COMPLETADO',
    mensaje_error       TEXT,
    duracion_segundos   FLOAT,
    tablas_respaldadas  BIGINT,
    registros_totales   BIGINT,
    hash_md5            VARCHAR(32),
    id_backup_base      BIGINT,
    fecha_creacion      TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    fecha_eliminacion   TIMESTAMP WITH TIME ZONE,
    eliminado           BOOLEAN DEFAULT FALSE,
    ejecutado_por       VARCHAR(100)
);

CREATE TABLE IF NOT EXISTS notificaciones (
    id              BIGSERIAL PRIMARY KEY,
    tipo            VARCHAR(50) NOT NULL,
    titulo          VARCHAR(255) NOT NULL,
    mensaje         TEXT,
    semaforo        VARCHAR(10),
    fecha_creacion  TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    leida           BOOLEAN DEFAULT FALSE
);

CREATE TABLE IF NOT EXISTS secretos_nube (
    nombre        TEXT PRIMARY KEY,
    valor_cifrado TEXT NOT NULL
);
