//! What is made of a mesh as its objects show it.

pub(in crate::operator) mod mesh;
mod server;
mod told;
mod wished;
