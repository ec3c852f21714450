//! The command line of heartbeat.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use heartbeat::ask::{Ask, ask};
use heartbeat::config::Config;
use heartbeat::keys;
use heartbeat::sidecar;
use heartbeat::telling::OWNER;
use heartbeat::telling::status::Status;
use heartbeat::telling::table::Table;
use xps_runtime::admin::address::Address;
use xps_runtime::command::{self, Configuration};
use xps_runtime::config::duration_of;
use xps_runtime::logging;

/// Answers probes in the network stack while the application is alive, and detects failures that a busy host cannot fake.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Every key of the configuration but those of several nodes can also be set by a variable: HEARTBEAT_<SECTION>_<KEY>."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar until SIGTERM.
    Run(Configuration),
    /// Check the configuration, and the files that it names: prints OK, or all mistakes.
    Check(Configuration),
    /// Make a key for a cluster: prints the line of a key file, which only its owner may be able to read.
    Key {
        /// The key's number, different from that of the key before.
        #[arg(value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        number: u8,
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
    /// Show the members as a running sidecar sees them; again and again on a terminal, else once.
    Watch {
        /// Print JSON, once.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: Admin,
    },
    /// Probe a node, as its peers do, and tell how long its answers take. Asks no sidecar of this host.
    Probe {
        /// Where it is: an address or a name, with a port if it is not listen.port.
        #[arg(value_name = "HOST")]
        host: String,
        /// Its number. Without it, that of the member at this address.
        #[arg(long, value_name = "NUMBER")]
        node: Option<u32>,
        /// Probes to send.
        #[arg(long, short, value_name = "PROBES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        /// Time from one probe to the next.
        #[arg(long, short, value_name = "TIME", default_value = "100ms", value_parser = time)]
        interval: Duration,
        /// How long an answer may take.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
        timeout: Duration,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        configuration: Configuration,
    },
    /// Hold BFD sessions down for maintenance, so that the other side knows that nothing has failed; or let them up again.
    Bfd {
        /// What becomes of them.
        #[arg(value_enum)]
        state: Held,
        /// The other side's address.
        #[arg(value_name = "PEER")]
        peer: IpAddr,
        #[command(flatten)]
        admin: Admin,
    },
    /// Read the configuration again, as SIGHUP does; with any mistake the old one goes on.
    Reload(Admin),
}

/// What an operator wants of sessions.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Held {
    /// Held down until `up` or a restart.
    Down,
    /// No longer held down.
    Up,
}

fn time(text: &str) -> Result<Duration, String> {
    duration_of(text).ok_or_else(|| "it must be a time with its unit, such as 100ms".to_owned())
}

/// Which running sidecar.
#[derive(Debug, Args)]
struct Admin {
    /// Where it listens for status and commands (listen.admin): an address with port, or unix:/path/of/socket.
    #[arg(long = "admin", value_name = "ADDRESS", default_value = OWNER.default)]
    address: Address,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => command::exit("heartbeat", Err(error)),
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Run(configuration) => {
            let source = configuration.source();
            let config = Config::from(&source)?;
            let set_log_level = logging::start(config.log.format, &config.log.level);
            let runtime =
                tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
            runtime.block_on(async {
                // On a worker, so that it may block while the others go on.
                tokio::spawn(sidecar::run(config, source, set_log_level))
                    .await
                    .context("the sidecar failed")?
            })?;
        }
        Command::Check(configuration) => {
            Config::from(&configuration.source())?;
            println!("OK");
        }
        Command::Key { number } => {
            command::print(&keys::new_line(number).context("no random bytes")?)?;
        }
        Command::Status { json, admin } => {
            let status: Status =
                OWNER.get_as(&admin.address, "/status", |text| serde_json::from_str(text))?;
            command::show(&status, json)?;
        }
        Command::Health(admin) => command::print(&OWNER.get(&admin.address, "/readyz")?)?,
        Command::Watch { json, admin } => command::watch(json, || {
            anyhow::Ok(OWNER.get_as(&admin.address, "/members", |text| serde_json::from_str::<Table>(text))?)
        })?,
        Command::Probe { host, node, count, interval, timeout, json, configuration } => {
            let config = Config::of_cluster(&configuration.source())?;
            let answers = ask(&config, &Ask { host, node, count, interval, timeout, told: !json })?;
            command::show(&answers, json)?;
            // As ping does.
            return Ok(if answers.answered == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::Bfd { state, peer, admin } => {
            let state = if matches!(state, Held::Down) { "down" } else { "up" };
            command::print(&OWNER.act(&admin.address, &format!("bfd/{peer}/{state}"))?)?;
        }
        Command::Reload(admin) => command::print(&OWNER.act(&admin.address, "reload")?)?,
    }
    Ok(ExitCode::SUCCESS)
}
