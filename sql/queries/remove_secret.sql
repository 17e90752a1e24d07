DELETE FROM secretos_nube WHERE nombre = %(name)s RETURNING 1
