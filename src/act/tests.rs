//! What the tests of the actors share.

pub(crate) mod bed;
