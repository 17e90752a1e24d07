SELECT current_setting('transaction_read_only')::boolean AS read_only
