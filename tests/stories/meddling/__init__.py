"""Stories of what others did to rows, directories, copies and places."""
