SELECT DISTINCT valor_cifrado::text AS valor_cifrado FROM secretos_nube WHERE nombre = %(name)s
