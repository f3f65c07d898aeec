//! Variables over the file.
