-- What a role, a database or a server may have set, and what would change how values are read or written.
SET array_nulls = on; SET extra_float_digits = 3; SET xmloption = content;
SET intervalstyle = 'postgres'; SET datestyle = 'ISO, MDY'; SET timezone = 'UTC';
SET transform_null_equals = off; SET standard_conforming_strings = on; SET exit_on_error = off;
SET default_transaction_read_only = off;
{{settings}}