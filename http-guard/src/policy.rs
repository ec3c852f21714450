//! What holds for requests: the configuration's rules as tables, ready for either path.

use http_fastpath::abi::{Answer, CLIENTS_MAX};
use xps_runtime::config::source::{ConfigSource, SourceError};
use xps_runtime::config::{Mistake, Mistakes};

use crate::answers;
use crate::compile::{Compiled, compile};
use crate::config::Config;

/// Tables for all that a configuration says of requests.
pub struct Policy {
    /// The rules.
    pub compiled: Compiled,
    /// Their names, in order.
    pub names: Vec<String>,
    /// The answers of one set of tables.
    pub answers: Box<[Answer]>,
}

impl Policy {
    /// Compiles what a configuration says.
    ///
    /// # Errors
    /// If the rules are too large for the tables.
    pub fn of(config: &Config) -> Result<Self, Mistakes> {
        let compiled = compile(&config.rules)?;
        let clients = compiled.clients.len();
        if clients > CLIENTS_MAX {
            let message = format!(
                "all rules together name {clients} different addresses and prefixes of clients; {CLIENTS_MAX} are possible"
            );
            return Err(Mistakes(vec![Mistake { place: "rules".to_owned(), message }]));
        }
        let names = config.rules.iter().map(|rule| rule.name.clone()).collect();
        let answers = answers::compile(&config.rules, &config.page)?;
        Ok(Self { compiled, names, answers })
    }

    /// Reads and compiles the configuration as it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn from(source: &ConfigSource) -> Result<(Config, Self), SourceError> {
        let config = Config::from(source)?;
        let policy = Self::of(&config)?;
        Ok((config, policy))
    }
}
