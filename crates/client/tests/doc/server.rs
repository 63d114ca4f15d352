// A server for the length of a documentation example, on a free port, with an empty directory.

struct ExampleServer {
    address: String,
    _data: tempfile::TempDir,
}

impl ExampleServer {
    async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let listen = ([127, 0, 0, 1], 0).into();
        let config = trilith_server::ServerConfig { listen, ..Default::default() };
        let listening = trilith_server::Server::listen(config).await?;
        let address = listening.local_addr().to_string();
        let data = tempfile::tempdir()?;
        let mut config = trilith_node::NodeConfig::new(data.path());
        config.addresses.client.clone_from(&address);
        let env = trilith_env::os::env();
        let (member, _) = trilith_server::Member::open(&env, config, None, false)?;
        let bound = listening.serve(member).await?;
        tokio::spawn(bound.run(std::future::pending()));
        Ok(Self { address, _data: data })
    }
}
