//! The key file on disk, and who learns when it changes.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{KeyError, Keyring};

/// A file of keys.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// How often a watched file is looked at: one `stat` each, and a rotation takes minutes anyway.
    pub const POLL: Duration = Duration::from_secs(5);

    /// Names the file, without reading it.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the keys.
    pub fn read(&self) -> Result<Keyring, KeyError> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|source| KeyError::Read { path: self.path.clone(), source })?;
        Keyring::parse(&Zeroizing::new(text))
    }

    /// Reads the keys now, and again whenever the file changes, until the last receiver is gone.
    /// Kubernetes swaps a symbolic link below the file, so what it leads to is compared too. A new
    /// file that cannot be used changes nothing; the log says why, once.
    pub fn watch(self, poll: Duration) -> Result<watch::Receiver<Arc<Keyring>>, KeyError> {
        let seen = self.print();
        let (sender, receiver) = watch::channel(Arc::new(self.read()?));
        tokio::spawn(self.follow(sender, seen, poll));

        Ok(receiver)
    }

    async fn follow(
        self,
        sender: watch::Sender<Arc<Keyring>>,
        mut seen: Option<Print>,
        poll: Duration,
    ) {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(poll) => {}
            }
            // Taken before the reading: a change in between is seen at the next look.
            let print = self.print();
            if print == seen {
                continue;
            }
            seen = print;
            self.reread(&sender);
        }
    }

    fn reread(&self, sender: &watch::Sender<Arc<Keyring>>) {
        let file = self.path.display();
        match self.read() {
            Ok(keys) => {
                tracing::info!(%file, keys = ?keys, "Keys changed");
                sender.send_replace(Arc::new(keys));
            }
            Err(error) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(%file, error, "New key file refused; the old keys stay");
            }
        }
    }

    /// Returns what changes whenever the file does; none if there is no file.
    fn print(&self) -> Option<Print> {
        let data = std::fs::metadata(&self.path).ok()?;
        Some(Print {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            changed: (data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()),
        })
    }
}

/// Tells one state of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64, i64, i64),
}
