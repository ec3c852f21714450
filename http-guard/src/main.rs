//! The command line of http-guard.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use http_guard::explain::{Question, explain};
use http_guard::policy::Policy;
use http_guard::sidecar;
use http_guard::telling::OWNER;
use http_guard::telling::offenders::View;
use http_guard::telling::status::Status;
use xps_runtime::admin::address::Address;
use xps_runtime::command::{self, Configuration};
use xps_runtime::logging;

/// Rate limits and filters for Nginx, decided in the network stack.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Every key of the configuration but those of rules can also be set by a variable: HTTP_GUARD_<SECTION>_<KEY>."
)]
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
    /// Tell whether a running sidecar is ready, by the exit code: for health checks.
    Health(Admin),
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
        Ok(command::print(&OWNER.act(&self.address, action)?)?)
    }
}

fn main() -> ExitCode {
    command::exit("http-guard", run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(configuration) => {
            let source = configuration.source();
            let (config, policy) = Policy::from(&source)?;
            let set_log_level = logging::start(config.log.format, &config.log.level);
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
            Ok(command::print(&explain(&config, &policy.compiled, &question).to_string())?)
        }
        Command::Status { json, admin } => {
            let status: Status =
                OWNER.get_as(&admin.address, "/status", |text| serde_json::from_str(text))?;
            Ok(command::show(&status, json)?)
        }
        Command::Health(admin) => Ok(command::print(&OWNER.get(&admin.address, "/readyz")?)?),
        Command::Top { json, limit, admin } => show_top(&admin.address, json, limit),
        Command::Disable(admin) => admin.act("disable"),
        Command::Enable(admin) => admin.act("enable"),
        Command::Reload(admin) => admin.act("reload"),
    }
}

fn show_top(address: &Address, json: bool, limit: usize) -> Result<()> {
    command::watch(json, || {
        let mut view: View = OWNER.get_as(address, "/top", |text| serde_json::from_str(text))?;
        view.clients.truncate(limit);
        Ok(view)
    })
}
