GRANT {{grant}};
