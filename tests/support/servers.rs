//! The real servers that `make test` brings up.

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    /// `HOST:PORT` of the broker.
    pub(crate) kafka: String,
    /// URL of the S3 server; credentials and region are in the standard `AWS_…` variables.
    pub(crate) s3: String,
    /// A Python with the packages of `tests/python`.
    pub(crate) python: String,
}

impl Servers {
    /// The servers of the environment.
    ///
    /// Panics where it names none: a fault test without real servers shows nothing.
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!(
                    "{name} is not set: these tests need real Kafka and real S3, run `make test`"
                )
            })
        };
        Self {
            kafka: variable("TALLY_TEST_KAFKA"),
            s3: variable("TALLY_TEST_S3"),
            python: variable("TALLY_TEST_PYTHON"),
        }
    }

    /// `HOST:PORT` of the S3 server.
    pub(crate) fn s3_address(&self) -> String {
        self.s3.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }
}
