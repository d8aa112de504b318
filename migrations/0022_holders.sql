-- Each time this database was opened on its object store it took the store over under a new name, which the store has
-- too (`rreg-holder`): a copy of the database that takes it over later is told apart by a name that is not here.
CREATE TABLE store_holders (
    id {{id}},
    name TEXT NOT NULL UNIQUE
);
