-- The result of one restore, by the run that has the job. An order that is sent twice is obeyed once.
INSERT INTO janitor_drills
    (host, execution_id, uuid, provider_id, uri, is_good, seconds, file_count, size_bytes, detail)
SELECT
    %(host)s, %(execution_id)s, %(uuid)s, %(provider_id)s, %(uri)s, %(is_good)s, %(seconds)s, %(file_count)s,
    %(size_bytes)s, %(detail)s
FROM janitor_jobs AS current
WHERE current.job = %(job)s
  AND current.host = ''
  AND current.fencing_token = %(fencing_token)s
  AND current.lease_expires_at > now()
  AND NOT EXISTS (
        SELECT FROM janitor_drills
        WHERE execution_id = %(execution_id)s AND seconds = %(seconds)s AND drilled_at > now() - interval '1 hour'
    )
RETURNING id
