CREATE DATABASE scratch TEMPLATE template0 ENCODING '{{encoding}}' LOCALE 'C';
