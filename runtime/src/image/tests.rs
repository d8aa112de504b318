//! Layouts and archives, also hostile ones.
