UPDATE guarded SET who = 'x' WHERE id = 3;
DELETE FROM guarded WHERE id = 4;
