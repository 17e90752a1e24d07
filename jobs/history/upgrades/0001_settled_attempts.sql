-- Settled attempts are few beside committed ones, and only they are ever deleted: place by place, in batches.
CREATE INDEX janitor_attempts_settled ON janitor_attempts (place) WHERE state = 'settled';
