//! Carries out what was decided, and tells of it.

pub mod hooks;
pub mod leader;
pub mod restore;
mod statuses;
pub mod tell;

pub use statuses::Statuses;

#[cfg(test)]
pub(crate) mod tests;
