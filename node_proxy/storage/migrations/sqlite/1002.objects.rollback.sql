DROP TABLE object_locks;
DROP TABLE object_parts;
DROP TABLE objects;
