//! What a call was answered: the error code and the HTTP status, of whatever operation.

use std::fmt::Debug;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// The error code that a call was answered with; `ok` when it succeeded.
///
/// # Panics
///
/// When there is no answer, or none that the SDK understands: a simulator always gives one.
#[track_caller]
pub fn code<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, SdkError<E, HttpResponse>>) -> String {
    status_and_code(answer).1
}

/// As [`code`], with the HTTP status.
#[track_caller]
pub fn status_and_code<T: Debug, E: ProvideErrorMetadata + Debug>(answer: Result<T, SdkError<E, HttpResponse>>) -> (u16, String) {
    match answer {
        Ok(_) => (200, "ok".to_owned()),
        Err(error) => {
            let status = error.raw_response().map(|response| response.status().as_u16());
            let code = error.code().map(str::to_owned);
            status.zip(code).unwrap_or_else(|| panic!("no code in {error:?}"))
        }
    }
}
