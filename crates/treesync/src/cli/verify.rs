//! `treesync verify`: compares a copy with its source, and repairs it if asked.

use std::path::Path;

use anyhow::Context;
use tokio::sync::mpsc;

use super::Outcome;
use super::arguments::Verify;
use super::copies::rules;
use super::output::{Event, Output};
use crate::apply::CopyOptions;
use crate::session::{Verdict, Verifier};
use crate::verify::Level;
use crate::wire::Client;

pub(super) async fn verify(arguments: Verify, output: &Output) -> anyhow::Result<Outcome> {
    let Verify { directory, against, level, repair, adopt, resume, travel, preserve, tls } = arguments;
    let options = CopyOptions { rules: rules(travel, preserve)?.into(), adopt, ..CopyOptions::default() };
    let client = Client::connect(&against, tls.source().as_ref()).await?;
    let verifier = Verifier { directory: directory.clone(), options, level: Level::from(level), progress: resume };
    let (findings, mut found) = mpsc::unbounded_channel();
    let verifying = verifier.run(&client, repair, findings);
    let copy = directory.display().to_string();
    let telling = async {
        while let Some(finding) = found.recv().await {
            let (path, difference) = (finding.path.to_string(), finding.difference.to_string());
            output.say(&Event::Finding { copy: copy.clone(), path, difference });
        }
    };
    let (verdict, ()) = tokio::join!(verifying, telling);
    let verdict = verdict.with_context(|| format!("{} cannot be verified", directory.display()))?;
    Ok(say(&directory, Level::from(level), &verdict, output))
}

fn say(directory: &Path, level: Level, verdict: &Verdict, output: &Output) -> Outcome {
    output.say(&Event::Verified {
        copy: directory.display().to_string(),
        level: match level {
            Level::Marker => "marker",
            Level::Metadata => "metadata",
            Level::Content => "content",
        },
        source: verdict.source.into(),
        position: verdict.copy.map(Into::into),
        differences: verdict.differences,
        read_before: verdict.read_before,
        is_repaired: verdict.is_repaired,
    });
    if verdict.differences == 0 || verdict.is_repaired { Outcome::Good } else { Outcome::Different }
}
