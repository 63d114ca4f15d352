//! How a command ends when it does not succeed.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use trilith_client::{Error, SendError};

use crate::input::InputError;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for cannot be: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// What was asked for did not work: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// As [`Failure::Failed`], with everything already said.
    #[error("")]
    Reported,
    /// A signal ended it, and everything is said: the exit code of that signal.
    #[error("")]
    Signalled(u8),
    /// Nobody reads our output any more, which is not an error.
    #[error("")]
    OutputClosed,
}

impl Failure {
    /// Says why on standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let code = match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) | Self::Reported => ExitCode::FAILURE,
            Self::Signalled(code) => ExitCode::from(*code),
            Self::OutputClosed => ExitCode::SUCCESS,
        };
        let message = self.to_string();
        if !message.is_empty() {
            // There is nobody to tell when standard error is closed, too.
            let _ = writeln!(io::stderr(), "trilith: {message}");
        }
        code
    }

    /// An operation that failed, with what it met.
    pub(crate) fn because(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {why}"))
    }
}

/// Writing to standard output is the only input/output whose errors come bare.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::because("cannot write the output", error)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match (&error, error.reason()) {
            (Error::Unreachable { .. }, _) => {
                " Start one with 'trilith serve', or name another with --endpoints."
            }
            (_, Some("UNKNOWN_TOPIC")) => {
                "; 'trilith topic list' shows what there is, 'trilith topic create' makes one"
            }
            _ => "",
        };
        match error {
            Error::Endpoint { .. } => Self::Usage(error.to_string()),
            _ => Self::Failed(format!("{error}{hint}")),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Failed(error.to_string())
    }
}
