//! `squall env`: the variables by which every AWS client finds the server of a data directory.

use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::print;
use crate::client::{ServerArgs, Target};

/// The server is on this machine; a second is long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &EnvArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.server.data_dir();
    let target = Target::of_data_dir(&data_dir)?;
    // A killed server leaves its address behind.
    check_reachable(&target).with_context(|| {
        format!(
            "the server of `{0}` does not answer at `{1}` any more: start it with `squall up --data-dir {0}`",
            data_dir.display(),
            target.endpoint
        )
    })?;
    print::line(&exports(&target, std::env::var_os("AWS_SESSION_TOKEN").is_some()))?;
    Ok(ExitCode::SUCCESS)
}

fn check_reachable(target: &Target) -> anyhow::Result<()> {
    let address = target
        .address()?
        .to_socket_addrs()?
        .next()
        .context("its name has no address")?;
    TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    Ok(())
}

/// One line for `eval` in sh, bash or zsh. boto3 reads AWS_DEFAULT_REGION, other SDKs AWS_REGION.
/// SDKs would send a session token of another account along; it is emptied, which they read as none.
pub(super) fn exports(target: &Target, has_session_token: bool) -> String {
    let variables = [
        ("AWS_ENDPOINT_URL", &target.endpoint),
        ("AWS_ACCESS_KEY_ID", &target.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &target.secret_access_key),
        ("AWS_REGION", &target.region),
        ("AWS_DEFAULT_REGION", &target.region),
    ];
    let lines: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}", print::shell_quote(value)))
        .chain(has_session_token.then(|| "export AWS_SESSION_TOKEN=''".to_owned()))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_the_lines_as_they_are() {
        let target = Target {
            endpoint: "http://127.0.0.1:9400".to_owned(),
            access_key_id: "SQUAEXAMPLE".to_owned(),
            secret_access_key: "a/b+c'$(d)".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let show = "printf '%s|' \"$AWS_ENDPOINT_URL\" \"$AWS_ACCESS_KEY_ID\" \"$AWS_SECRET_ACCESS_KEY\" \
                    \"$AWS_REGION\" \"$AWS_DEFAULT_REGION\" \"$AWS_SESSION_TOKEN\"";
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("{}\n{show}", exports(&target, true))])
            .env("AWS_SESSION_TOKEN", "of another account")
            .output()
            .expect("a shell");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "http://127.0.0.1:9400|SQUAEXAMPLE|a/b+c'$(d)|us-east-1|us-east-1||"
        );
    }
}
