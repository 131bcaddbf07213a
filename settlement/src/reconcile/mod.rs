//! The vendor's bill beside our own figures.
