INSERT INTO guarded SELECT g, 'w' FROM generate_series(1, 10) g;
