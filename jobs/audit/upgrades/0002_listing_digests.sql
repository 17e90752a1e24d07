-- What a listing of a copy showed when it was committed: names, sizes and the provider's checksums, as one number. NULL
-- where the provider's listing has no checksums, or where they did not prove every file.
ALTER TABLE janitor_migrations ADD COLUMN listing_digest BIGINT;
