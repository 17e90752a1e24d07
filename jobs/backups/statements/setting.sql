SET {{name}} = {{value}};
