//! `treesync publish`: serves a source until it is stopped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::arguments::Publish;
use super::copies::rules;
use super::output::{Event, Output};
use super::{Outcome, asked_to_stop};
use crate::index::IndexOptions;
use crate::model::Position;
use crate::publish::{DetectionWish, Phase, PublishOptions, Publisher};
use crate::wire::Listening;

/// How often the state is looked at, to be told when it changes.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn publish(arguments: Publish, output: &Output) -> anyhow::Result<Outcome> {
    let Publish { directory, listen, travel, poll, volume, rate, subscriber_rate, tls } = arguments;
    let options = PublishOptions {
        rules: rules(travel, Vec::new())?,
        detection: if poll { DetectionWish::Poll } else { DetectionWish::Automatic },
        index: IndexOptions { volume, ..IndexOptions::default() },
        rate_bytes_per_second: rate,
        subscriber_rate_bytes_per_second: subscriber_rate,
        ..PublishOptions::default()
    };
    let publisher = start(directory.clone(), options).await.with_context(|| format!("cannot publish {}", directory.display()))?;
    let publisher = Arc::new(publisher);
    let listening = Listening::bind(publisher.clone(), listen, tls.source().as_ref()).await?;
    output.say(&Event::Listening { address: listening.address().to_string() });
    let (mut stopped, mut ended) = (Ok(()), None);
    let stop = async {
        tokio::select! {
            asked = asked_to_stop() => stopped = asked,
            reason = watch(&publisher, output) => ended = Some(reason),
        }
    };
    listening.serve(stop).await?;
    stopped.context("cannot wait for signals")?;
    if let Some(reason) = ended {
        anyhow::bail!("{} is published no more: {reason}", directory.display());
    }
    // Closes the index in order, so that the next start need not read again what may not be durable.
    tokio::task::spawn_blocking(move || drop(publisher)).await?;
    output.say(&Event::Stopped);
    Ok(Outcome::Good)
}

async fn start(directory: PathBuf, options: PublishOptions) -> anyhow::Result<Publisher> {
    Ok(tokio::task::spawn_blocking(move || Publisher::start(&directory, options)).await??)
}

/// Says when the source begins to be compared and when all is told. Ready, with the reason, when the publisher ends.
async fn watch(publisher: &Publisher, output: &Output) -> String {
    let mut said: Option<(Phase, Position)> = None;
    loop {
        let status = publisher.status();
        let is_news = said.is_none_or(|(phase, _)| phase != status.phase);
        if is_news && status.phase == Phase::Scanning {
            output.say(&Event::Scanning { position: status.position.into() });
        }
        if status.phase == Phase::Following && said != Some((status.phase, status.position)) {
            output.say_progress(&Event::InSync { position: status.position.into() }, !is_news);
        }
        if status.phase == Phase::Ended {
            return status.end_reason.unwrap_or_else(|| "it ended".to_owned());
        }
        said = Some((status.phase, status.position));
        tokio::time::sleep(LOOK).await;
    }
}
