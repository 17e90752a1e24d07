SELECT extract(epoch FROM lease_expires_at - now()) AS seconds_left
FROM janitor_jobs
WHERE job = %(job)s AND fencing_token = %(fencing_token)s AND lease_expires_at > now()
