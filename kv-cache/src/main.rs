//! The command line of kv-cache.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use kv_cache::config::Config;
use kv_cache::sidecar;
use kv_cache::telling::client;
use xps_runtime::admin::address::Address;
use xps_runtime::command::{self, Configuration};
use xps_runtime::logging;

/// Answers Redis GETs in the network stack; everything else goes to Redis unchanged.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Every key of the configuration can also be set by a variable: KV_CACHE_<SECTION>_<KEY>."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar until SIGTERM.
    Run(Configuration),
    /// Check the configuration: prints OK, or all mistakes.
    Check(Configuration),
    /// Ask a running sidecar how it is.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Tell whether a running sidecar is ready, by the exit code: for health checks.
    Health(Admin),
    /// Show the keys that are asked for most, by estimates; again and again on a terminal, else once.
    Top {
        /// Print JSON, once.
        #[arg(long)]
        json: bool,
        /// Keys to show.
        #[arg(long, value_name = "KEYS", default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        admin: Admin,
    },
    /// Make all entries of a running sidecar invalid, at once.
    Flush(Admin),
    /// Forbid hits until `enable` or a restart; everything goes to Redis.
    Disable(Admin),
    /// Allow hits again.
    Enable(Admin),
    /// Read the configuration again, as SIGHUP does; with any mistake the old one goes on.
    Reload(Admin),
}

/// Which running sidecar.
#[derive(Debug, Args)]
struct Admin {
    /// Where it listens for status and commands (listen.admin): an address with port, or unix:/path/of/socket.
    #[arg(long = "admin", value_name = "ADDRESS", default_value = "127.0.0.1:9180")]
    address: Address,
}

impl Admin {
    fn act(&self, action: &str) -> Result<()> {
        Ok(command::print(&client::act(&self.address, action)?)?)
    }
}

fn main() -> ExitCode {
    command::exit("kv-cache", run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(configuration) => {
            let source = configuration.source();
            let config = Config::from(&source)?;
            let set_log_level = logging::start(config.log.format, &config.log.level);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("no runtime")?;
            runtime.block_on(async {
                // On a worker, so that it may block while the others go on.
                tokio::spawn(sidecar::run(config, source, set_log_level))
                    .await
                    .context("the sidecar failed")?
            })
        }
        Command::Check(configuration) => {
            Config::from(&configuration.source())?;
            println!("OK");
            Ok(())
        }
        Command::Status { json, admin } => Ok(command::show(&client::status(admin.address)?, json)?),
        Command::Health(admin) => Ok(command::print(&client::health(&admin.address)?)?),
        Command::Top { json, limit, admin } => show_top(&admin.address, json, limit),
        Command::Flush(admin) => admin.act("flush"),
        Command::Disable(admin) => admin.act("disable"),
        Command::Enable(admin) => admin.act("enable"),
        Command::Reload(admin) => admin.act("reload"),
    }
}

fn show_top(address: &Address, json: bool, limit: usize) -> Result<()> {
    command::watch(json, || {
        let mut view = client::top(address)?;
        view.keys.truncate(limit);
        Ok(view)
    })
}
