//! Whole images made on the spot.
