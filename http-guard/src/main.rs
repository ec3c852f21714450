//! The command line of http-guard.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use http_guard::explain::{Question, explain};
use http_guard::policy::Policy;
use http_guard::sidecar;
use http_guard::telling::OWNER;
use http_guard::telling::offenders::View;
use http_guard::telling::status::Status;
use xps_runtime::admin::address::Address;
use xps_runtime::config::source::{ConfigSource, assignment};
use xps_runtime::logging;

/// Rate limits and filters for Nginx, decided in the network stack.
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
    /// Check the configuration and compile its rules: prints OK, or all mistakes.
    Check(Configuration),
    /// Tell which rule a request meets, and which condition of the others does not hold. Asks no sidecar.
    Explain {
        /// Method and target, such as 'GET /login'.
        #[arg(value_name = "REQUEST")]
        request: String,
        /// The client's address.
        #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        from: IpAddr,
        /// A header field; may be given several times.
        #[arg(long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        #[command(flatten)]
        configuration: Configuration,
    },
    /// Ask a running sidecar how it is.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show the clients that were refused most within the last minute; again and again on a terminal, else once.
    Top {
        /// Print JSON, once.
        #[arg(long)]
        json: bool,
        /// Clients to show.
        #[arg(long, value_name = "CLIENTS", default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        admin: Admin,
    },
    /// Let everything pass until `enable` or a restart.
    Disable(Admin),
    /// Judge requests again.
    Enable(Admin),
    /// Read the configuration again, as SIGHUP does; with any mistake the old one goes on.
    Reload(Admin),
}

/// Which running sidecar.
#[derive(Debug, Args)]
struct Admin {
    /// Where it listens for status and commands (listen.admin): an address with port, or unix:/path/of/socket.
    #[arg(long = "admin", value_name = "ADDRESS", default_value = OWNER.default)]
    address: Address,
}

impl Admin {
    fn act(&self, action: &str) -> Result<()> {
        print(&OWNER.act(&self.address, action)?)
    }
}

/// Where the configuration comes from. Every key but those of rules can also be set by a variable:
/// `HTTP_GUARD_<SECTION>_<KEY>`.
#[derive(Debug, Args)]
struct Configuration {
    /// Configuration file (TOML). Without it the defaults hold, and everything passes.
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
            eprintln!("http-guard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(configuration) => {
            let source = configuration.source();
            let (config, policy) = Policy::from(&source)?;
            let set_log_level = logging::start(config.log_format, &config.log_level);
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
            runtime.block_on(async {
                // On a worker, so that it may block while the others go on.
                tokio::spawn(sidecar::run(config, policy, source, set_log_level))
                    .await
                    .context("the sidecar failed")?
            })
        }
        Command::Check(configuration) => {
            Policy::from(&configuration.source())?;
            println!("OK");
            Ok(())
        }
        Command::Explain { request, from, headers, configuration } => {
            let (config, policy) = Policy::from(&configuration.source())?;
            let question = Question { line: request, headers, client: from };
            print(&explain(&config, &policy.compiled, &question).to_string())
        }
        Command::Status { json, admin } => {
            let status: Status =
                OWNER.get_as(&admin.address, "/status", |text| serde_json::from_str(text))?;
            print(&if json { serde_json::to_string_pretty(&status)? + "\n" } else { status.to_string() })
        }
        Command::Top { json, limit, admin } => show_top(&admin.address, json, limit),
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
        let mut view: View = OWNER.get_as(address, "/top", |text| serde_json::from_str(text))?;
        view.clients.truncate(limit);
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
