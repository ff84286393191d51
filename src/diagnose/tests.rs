//! Faults of known truth against what is diagnosed.
