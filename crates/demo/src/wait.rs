//! Waits for something to become true, with a limit and a name, so that a failure says what did not happen.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until there is a value; an error of a look is a reason to look again, and is told at the limit.
pub async fn until<T>(what: &str, limit: Duration, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last = look().await;
        match last {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if Instant::now() > deadline => bail!("after {} s it is not true that {what}", limit.as_secs()),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("after {} s it is not true that {what}", limit.as_secs())));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
