//! Waiting for what must come true.

use std::time::Duration;

use anyhow::bail;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let waited = tokio::time::timeout(LIMIT, async {
        while !so().await {
            tokio::time::sleep(LOOK).await;
        }
    });
    match waited.await {
        Ok(()) => Ok(()),
        Err(_) => bail!("not within {LIMIT:?}: {what}"),
    }
}

/// Waits until something is there; what is said instead tells why it is not.
pub(crate) async fn awaited<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut last = None;
    let waited = tokio::time::timeout(LIMIT, async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(why) => last = Some(why),
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    match waited.await {
        Ok(found) => Ok(found),
        Err(_) => match last {
            Some(why) => Err(why.context(format!("not within {LIMIT:?}: {what}"))),
            None => bail!("not within {LIMIT:?}: {what}"),
        },
    }
}
