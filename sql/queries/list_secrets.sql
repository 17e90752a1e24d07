SELECT DISTINCT nombre, valor_cifrado::text AS valor_cifrado
FROM secretos_nube
WHERE nombre IS NOT NULL
ORDER BY nombre
