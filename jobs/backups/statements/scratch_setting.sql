ALTER DATABASE {{name}} SET {{setting}} = {{value}};
