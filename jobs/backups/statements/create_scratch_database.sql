CREATE DATABASE {{name}} TEMPLATE template0 ENCODING '{{encoding}}' {{locale}};
