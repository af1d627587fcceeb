DROP INDEX entries_short;
DROP TABLE vouchers;
