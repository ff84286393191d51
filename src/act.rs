//! Carries out what was decided, and tells of it.

pub mod hooks;
pub mod leader;
mod statuses;

pub use statuses::Statuses;

#[cfg(test)]
mod tests;
