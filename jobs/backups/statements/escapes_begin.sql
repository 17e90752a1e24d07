SET escape_string_warning = off; SET standard_conforming_strings = off;
