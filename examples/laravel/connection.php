<?php

// The connection "realtime" of config/broadcasting.php. What stands there
// under the same name goes before what stands here.
return [
    'driver' => 'realtime',
    'url' => env('REALTIME_SOCKET_URL') ?: env('REALTIME_URL'),
    'app_id' => env('REALTIME_APP_ID'),
    'publish_key' => env('REALTIME_PUBLISH_KEY'),

    // Signs the tokens of clients, for private and presence channels.
    'signing_key' => env('REALTIME_SIGNING_KEY'),

    // Seconds until such a token expires. Clients renew it before.
    'token_life' => 300,

    // The gateway's publish_path, where it is another.
    'publish_path' => env('REALTIME_PUBLISH_PATH') ?: '/publish',

    // Certificates to trust instead of the system's, such as those of a CA of your own.
    'ca_file' => env('REALTIME_CA_FILE'),

    // Seconds that one event may take, its repeat included, and of these for a connection.
    'timeout' => 5,
    'connect_timeout' => 2,
];
