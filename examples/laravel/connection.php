<?php

// The connection "realtime" of config/broadcasting.php. What stands there
// under the same name goes before what stands here.
return [
    'driver' => 'realtime',
    'url' => env('REALTIME_SOCKET_URL') ?: env('REALTIME_URL'),
    'app_id' => env('REALTIME_APP_ID'),
    'publish_key' => env('REALTIME_PUBLISH_KEY'),

    // The gateway's publish_path, where it is another.
    'publish_path' => env('REALTIME_PUBLISH_PATH') ?: '/publish',

    // Certificates to trust instead of the system's, such as those of a CA of your own.
    'ca_file' => env('REALTIME_CA_FILE'),

    // Seconds that one event may take, its repeat included, and of these for a connection.
    'timeout' => 5,
    'connect_timeout' => 2,

    // Broadcast to private and presence channels. Clients need tokens for them, which
    // the application signs: this driver does not.
    'allow_private' => false,
];
