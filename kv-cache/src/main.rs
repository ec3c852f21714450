//! The command line of kv-cache.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use kv_cache::config::Config;
use kv_cache::sidecar;
use kv_cache::telling::client;
use xps_runtime::admin::address::Address;
use xps_runtime::config::source::{ConfigSource, assignment};
use xps_runtime::logging;

/// Answers Redis GETs in the network stack; everything else goes to Redis unchanged.
#[derive(Debug, Parser)]
#[command(version)]
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
        print(&client::act(&self.address, action)?)
    }
}

/// Where the configuration comes from. Every key can also be set by a variable: `KV_CACHE_<SECTION>_<KEY>`.
#[derive(Debug, Args)]
struct Configuration {
    /// Configuration file (TOML). Without it the defaults hold.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, such as `--set path.mode=user`; goes before file and environment.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Configuration {
    fn source(self) -> ConfigSource {
        ConfigSource { file: self.config, flags: self.set }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv-cache: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(configuration) => {
            let source = configuration.source();
            let config = Config::from(&source)?;
            let set_log_level = logging::start(config.log_format, &config.log_level);
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
        Command::Status { json, admin } => {
            let status = client::status(admin.address)?;
            print(&if json { serde_json::to_string_pretty(&status)? + "\n" } else { status.to_string() })
        }
        Command::Top { json, limit, admin } => show_top(&admin.address, json, limit),
        Command::Flush(admin) => admin.act("flush"),
        Command::Disable(admin) => admin.act("disable"),
        Command::Enable(admin) => admin.act("enable"),
        Command::Reload(admin) => admin.act("reload"),
    }
}

fn show_top(address: &Address, json: bool, limit: usize) -> Result<()> {
    const AGAIN: Duration = Duration::from_secs(2);
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let live = !json && std::io::stdout().is_terminal();
    loop {
        let mut view = client::top(address)?;
        view.keys.truncate(limit);
        if json {
            return print(&(serde_json::to_string_pretty(&view)? + "\n"));
        }
        print(&format!("{}{view}", if live { CLEAR } else { "" }))?;
        if !live {
            return Ok(());
        }
        std::thread::sleep(AGAIN);
    }
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
