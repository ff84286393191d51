//! An error with its causes, on one line.

use std::error::Error;
use std::fmt;

/// Displays an error and all its causes: `what we tried: why it failed: why that failed`.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;

        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some crates repeat their cause in their own message.
            if !said.ends_with(&next) {
                write!(f, ": {next}")?;
            }
            said = next;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Chain;

    #[derive(Debug, thiserror::Error)]
    enum Told {
        #[error("open the door")]
        Door(#[source] Box<Self>),
        #[error("find the key: {0}")]
        Key(#[source] std::io::Error),
    }

    #[test]
    fn each_cause_is_told_once() {
        let lost = Told::Key(std::io::Error::other("it is lost"));
        assert_eq!(
            Chain(&Told::Door(Box::new(lost))).to_string(),
            "open the door: find the key: it is lost"
        );
    }
}
