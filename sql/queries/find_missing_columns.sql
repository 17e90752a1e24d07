-- Columns that the program reads and an existing table of the platform lacks.
WITH needed (table_name, column_name) AS (
    VALUES
        ('cloud_providers', 'id'),
        ('cloud_providers', 'nombre'),
        ('cloud_providers', 'tipo'),
        ('cloud_providers', 'credenciales'),
        ('cloud_providers', 'configuracion'),
        ('cloud_providers', 'activo'),
        ('ejecuciones_yaml', 'id'),
        ('ejecuciones_yaml', 'uuid'),
        ('ejecuciones_yaml', 'ruta_directorio'),
        ('ejecuciones_yaml', 'fecha_ejecucion'),
        ('ejecuciones_yaml', 'migrado_a_nube'),
        ('ejecuciones_yaml', 'ruta_nube'),
        ('ejecuciones_yaml', 'nube_provider_id')
)
SELECT needed.table_name, needed.column_name
FROM needed
WHERE to_regclass(needed.table_name) IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_attribute AS existing
        WHERE existing.attrelid = to_regclass(needed.table_name)
            AND existing.attname = needed.column_name
            AND NOT existing.attisdropped
    )
ORDER BY 1, 2
