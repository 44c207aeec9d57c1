//! What can go wrong when an effect is carried out.

use crate::ec2;

/// A failed effect. The message names the object and the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// EC2 refused or failed.
    #[error(transparent)]
    Ec2(#[from] ec2::Error),
    /// The API server refused or failed.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
}

impl Error {
    /// The words for a status or an event: the same for the same failure, so that it is written once.
    pub fn lasting(&self) -> String {
        match self {
            Self::Ec2(error) => error.lasting(),
            Self::Kube(error) => format!("API server: {error}"),
        }
    }
}
